"""From messages to the text a model continues: the drafter's chat template, the base's plain template."""
