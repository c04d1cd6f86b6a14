"""Stands for Nova's packages: as much of its records as the proof asks for, from the file ``NOVA_RECORDS`` names."""
