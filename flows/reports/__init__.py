"""Drawing and tables that several commands share."""
