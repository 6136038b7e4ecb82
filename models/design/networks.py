"""The networks that a search works with: those of the published generator, or those on frozen features."""

from models.garments.generator import Generator as GarmentGenerator
from models.garments.heads import Realism
from models.lsgan.networks import Discriminator, Generator

AnyGenerator = Generator | GarmentGenerator
AnyRealism = Discriminator | Realism  # pictures and classes to a number near 1 for real pictures, near 0 for fakes
