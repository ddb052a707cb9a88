import '../credentials.js'
import '../tokens.js'
