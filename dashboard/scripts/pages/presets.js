import '../planned.js'
import '../presets.js'
import '../progress.js'
