"""What tests stand on: real databases, real server processes, a scriptable upstream on a socket."""
