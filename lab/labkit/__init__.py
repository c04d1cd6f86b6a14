"""The laboratory's command: boots a real OpenStack on one machine, keeps snapshots of it, and takes it away again.

``topology`` and ``table`` are pure; ``places`` says where things lie; every other module does one kind of effect
(layers, environments, network, machines, ...); ``commands`` puts them together and ``__main__`` reads the command line.
"""
