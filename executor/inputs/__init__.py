"""What a report is made from: step, registry, market data, charts, former reports."""
