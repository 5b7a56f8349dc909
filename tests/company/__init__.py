"""In company: other instrumentations beside us, and frameworks over the SDKs, in environments of their own."""
