"""What this process was told: environment variables and OpenTelemetry's configuration file."""
