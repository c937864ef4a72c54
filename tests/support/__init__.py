"""What tests share: commands, images, stores, servers."""
