"""One module or package per DVC stage; each has a function run(context)."""
