"""Files of scores, as `agent score` writes them and as reports and plots read them."""
