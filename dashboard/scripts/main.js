import { start } from './alpine.js'
import { listen } from './stores.js'
import './addition.js'
import './adoption.js'
import './credentials.js'
import './keyboard.js'
import './live.js'
import './login.js'
import './models.js'
import './presets.js'
import './suite.js'
import './telemetry.js'
import './tokens.js'
import './uploads.js'
import './workflows.js'

start()
listen()
document.addEventListener('htmx:after:swap', listen)
