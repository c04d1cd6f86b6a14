"""The model: frozen values that every layer speaks; nothing here acts."""
