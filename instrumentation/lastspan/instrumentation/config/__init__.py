"""The settings of this process: environment variables and OpenTelemetry's configuration file."""
