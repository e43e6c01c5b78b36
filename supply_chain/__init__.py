"""What hilum is made of: a bill of materials, licences, and known vulnerabilities. No part of the package."""
