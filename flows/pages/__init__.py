"""What an analyst looks at in the browser: the bar, the pages of results, files by address."""
