"""The flows that Prefect runs, and the server of this machine that offers them."""
