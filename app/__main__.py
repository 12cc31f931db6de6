"""``python -m app``: the command ``defusionpp`` from the checkout, without installing."""

from app.command import main

main()
