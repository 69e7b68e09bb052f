"""Code that several stages share: context, fingerprint, training runs, jobs, studies."""
