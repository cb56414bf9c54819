"""How one stage is executed. `local` runs it as a process of this machine."""
