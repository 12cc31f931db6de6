"""``defusionpp app``: a local web page over ``Fuser``."""
