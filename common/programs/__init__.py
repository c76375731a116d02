"""What every stage's train.py and eval.py run: run folder, data, session, command lines."""
