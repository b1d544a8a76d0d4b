"""Who decodes when: many replies over one pair, one decode for all that wait for the same model."""
