"""From encoders, data and certificates to rows, tables and plots."""
