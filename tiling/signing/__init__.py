"""What opens files that a catalogue hands to those alone who ask for a token: grants, renewed
before they end."""
