"""RAW -> picture: the ISP contract and the classical pipeline that keeps it."""
