"""What every flow is made of: a form, stages that Prefect sees, a bar, an end in one sentence, and
who hears of it."""
