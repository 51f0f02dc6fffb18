"""When, and on which machine: the pipeline, its run folder, its cluster, the command line and the
Prefect flows."""
