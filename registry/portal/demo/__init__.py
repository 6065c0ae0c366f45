"""An invented organisation that uses real public MCP servers, told through the same services as everybody's acts."""
