"""From encoders, data and certificates to rows, tables and figures: a room for each job, and rooms that they share."""
