"""Images: where they come from, how they are split and cached, batches on the device."""
