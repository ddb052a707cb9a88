import '../outputs.js'
import '../picture.js'
