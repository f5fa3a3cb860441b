"""From a submission to the broker: checked, claimed, announced, sent."""
