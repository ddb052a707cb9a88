import '../downloads.js'
import '../progress.js'
import '../services.js'
import '../telemetry.js'
