from rasad.streams.subscriber import subscribe as subscribe

__version__: str
