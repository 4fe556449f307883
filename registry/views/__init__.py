"""What each audience sees, rendered from merged services. Pure: values in, bytes or plain data out."""
