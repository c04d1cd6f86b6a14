"""A world of fakes and a manual clock around the real coordinator: schedules of faults, and ``underway simulate``."""
