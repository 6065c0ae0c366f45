from tests.discovery.public_servers import public_servers

__all__ = ["public_servers"]
