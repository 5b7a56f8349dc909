"""Every version of the SDKs that is supported, and what is installed beside it. `make compat`."""
