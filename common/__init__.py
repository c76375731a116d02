"""What more than one stage uses: config, data, networks, losses, training loop, evaluation."""
