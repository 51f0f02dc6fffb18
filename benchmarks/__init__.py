"""What it costs: Landweave beside the least that any program would have to do."""
