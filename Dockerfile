FROM python:3.11-slim AS build
WORKDIR /build
RUN python -m venv /venv
COPY requirements.lock .
RUN /venv/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY ledger_actors ledger_actors
COPY persistence persistence
COPY api api
COPY bench bench
RUN /venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation . \
    && /venv/bin/pip uninstall --yes editables hatchling pip

FROM python:3.11-slim
RUN useradd --system --uid 10001 --no-create-home bitburst \
    && install --directory --owner bitburst --group bitburst --mode 750 /data
COPY --from=build /venv /venv
USER bitburst
# Inside, every address of the container must be listened on, or nothing could be published. Who
# reaches it is decided where it is published; without API keys, publish to loopback only.
ENV PATH=/venv/bin:$PATH \
    BITBURST_HOST=0.0.0.0 \
    BITBURST_ALLOW_ANONYMOUS=true \
    BITBURST_DATA_DIR=/data
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/healthz', timeout=2)"]
ENTRYPOINT ["bitburst"]
CMD ["serve"]
