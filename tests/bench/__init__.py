"""What watching costs. `make bench` prints it; nothing here can fail CI."""
