-- The requests that wrk sends. bench/loads/requests.py makes the same ones.
--
-- Arguments: load, users, users whose adds are counted one by one, run, seed, Host header.
-- Prints one line of JSON at the end.

local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

local random, format = math.random, string.format

local function amount(user)
  return format("%.2f", 0.01 * (1 + (user * 7919) % 50000))
end

local function add(user, key)
  local body = '{"amount":' .. amount(user) .. "}"
  -- Globals, because only those can be read from `done`.
  made_adds = made_adds + 1
  if user < counted_users then
    counted[user + 1] = counted[user + 1] + 1
  end
  return format("POST /users/user-%07d/add HTTP/1.1\r\nHost: %s\r\n", user, host)
    .. "Content-Type: application/json\r\nContent-Length: " .. #body .. "\r\n" .. key
    .. "\r\n" .. body
end

local function get(user, what)
  return format("GET /users/user-%07d/%s HTTP/1.1\r\nHost: %s\r\n\r\n", user, what, host)
end

local kinds = {}

function kinds.add()
  return add(random(0, users - 1), "")
end

function kinds.keyed()
  return add(random(0, users - 1), "Idempotency-Key: " .. run .. "-" .. made .. "\r\n")
end

function kinds.balance()
  return get(random(0, users - 1), "balance")
end

function kinds.history()
  return get(random(0, users - 1), "history?page=1")
end

function kinds.mix()
  local drawn = random()
  if drawn < 0.7 then
    return kinds.add()
  elseif drawn < 0.9 then
    return kinds.balance()
  end
  return kinds.history()
end

function kinds.empty()
  return format("GET / HTTP/1.1\r\nHost: %s\r\n\r\n", host)
end

function init(arguments)
  kind = kinds[arguments[1]]
  users = tonumber(arguments[2])
  counted_users = tonumber(arguments[3])
  run = arguments[4]
  host = arguments[6]
  math.randomseed(tonumber(arguments[5]))
  made, made_adds, counted = 0, 0, {}
  for user = 1, counted_users do
    counted[user] = 0
  end
end

function request()
  made = made + 1
  return kind()
end

function done(summary, latency, _)
  local thread = threads[1]
  local errors = summary.errors
  io.write(format(
    '{"requests":%d,"duration_us":%d,"status":%d,"connect":%d,"read":%d,"write":%d,"timeout":%d,',
    summary.requests, summary.duration,
    errors.status, errors.connect, errors.read, errors.write, errors.timeout
  ))
  io.write('"latency_us":{')
  for _, per_mille in ipairs({500, 900, 990, 999}) do
    io.write(format('"%d":%d,', per_mille, latency:percentile(per_mille / 10)))
  end
  io.write(format(
    '"1000":%d},"made":%d,"made_adds":%d,"counted":[%s]}\n',
    latency.max, thread:get("made"), thread:get("made_adds"),
    table.concat(thread:get("counted"), ",")
  ))
end
