"""What agents and operators ask over HTTP: the mail of hosts, enrolment, status. It carries, and decides nothing."""
