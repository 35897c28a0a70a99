from simulation.command_line import main

if __name__ == "__main__":
    main(prog_name="python -m simulation")
