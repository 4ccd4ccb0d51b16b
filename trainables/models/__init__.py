"""The models by name: the method's CNNs and torchvision's."""
