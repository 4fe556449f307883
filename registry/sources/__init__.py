"""Where facts come from. Each source follows one member cluster and speaks ``registry.model.events``."""
