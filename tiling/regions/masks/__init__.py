"""Objects that were found as masks, some of them twice and some across others, as regions."""
