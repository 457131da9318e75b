"""All evidence of one case, each piece judged once, and what is remembered between cases."""
